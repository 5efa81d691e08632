"""The commands, one module each (registration.py has their names)."""
