"""Values → what people read, whatever they are about: numbers, tables, text, SVG, pages. Pure."""
