"""The measurements behind README's performance tables: python -m bench."""
