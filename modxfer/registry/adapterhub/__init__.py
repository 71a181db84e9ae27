"""Taking over the entries of AdapterHub's registry."""
