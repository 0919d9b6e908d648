"""The dashboard: pages for operators, from the views and actions of `edgy_bus.operations`.

The pages are made on the server, and load nothing from elsewhere. `access.py` has the roles,
`guard.py` the checks of every request, `looks.py` the pages, and `acts.py` the actions. Only these
modules import the packages of the extra `dashboard`.
"""
