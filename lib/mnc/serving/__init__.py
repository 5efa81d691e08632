"""A model behind a local page and a JSON interface (`mnc serve`)."""
