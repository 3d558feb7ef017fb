"""The commands, one module for each kind of user. `pipeline.cli` binds them to the command line."""
