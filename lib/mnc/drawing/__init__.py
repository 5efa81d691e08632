"""Pictures: instances, pages, curves of precision and of losses."""
