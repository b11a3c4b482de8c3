"""README and the pages of docs/ keep to what there is: commands run, snippets executed, tables and links true."""
