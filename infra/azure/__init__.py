"""Adapters of `models.ports` on Azure Storage: blobs and queues.

They import `azure.storage` and nothing heavier, translate its errors into `models.errors` in one place
(`infra.azure.errors`), and never retry by themselves: their callers know what a lost answer means.
"""
