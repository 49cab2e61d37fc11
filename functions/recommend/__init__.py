"""What the recommendation routes answer: plain functions of a request and ports.

May import `models` and `functions`, never `infra`. Nothing here is imported before a route is called.
"""
