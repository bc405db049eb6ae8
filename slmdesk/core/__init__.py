"""What every room stands on: errors, settings, paths, database, processes."""
