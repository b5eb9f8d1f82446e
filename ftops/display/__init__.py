"""How any value is shown: numbers, tables, text, SVG, pages. Pure."""
