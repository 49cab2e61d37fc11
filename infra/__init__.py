"""Everything that touches the outside: settings, Azure clients, wiring, the CLI and the local runtime.

May import every other package; nothing but function_app imports it.
"""
