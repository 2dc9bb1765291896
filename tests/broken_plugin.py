"""A package that cannot be imported; see `test_registry`."""

raise SystemError("this plug-in is broken")
