"""The commands of `mnc`, one module each."""
