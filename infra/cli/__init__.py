"""The `penstock` command: one file per group of commands, registered in `main`.

Commands import what they need when they run, so that `penstock --help` is instant. Errors for users are
`models.errors` with one clear sentence; `main` turns them into exit codes.
"""
