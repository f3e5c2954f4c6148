"""Where this package meets others: each folder needs the project of its name, which nothing else here imports."""
