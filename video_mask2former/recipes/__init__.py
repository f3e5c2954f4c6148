"""Objects from configuration: the only room, beside the command line, that reads it."""
