"""An embedded Azure Functions host: runs the function app of any folder as `func start` would.

It reads `function_app.py` with the real `azure-functions` library, obeys `host.json` and refuses what the
Python worker refuses. It knows storage accounts and HTTP, and nothing of the application it runs.
"""
