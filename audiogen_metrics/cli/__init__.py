"""The command line: ``agm``, also installed as ``audiogen-metrics``."""
