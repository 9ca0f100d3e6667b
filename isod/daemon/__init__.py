"""The shell around the core: sessions, executor, store, service manager."""
