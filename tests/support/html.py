"""A page as a browser would take it apart, and a text that would do harm in one."""

from __future__ import annotations

from html.parser import HTMLParser

EVIL = "<script>alert(1)</script>]]>\"'><img src=x onerror=alert(1)> [x](javascript:alert(1)) `a` | @team #1 https://evil.example/ **b**"
VOID = {"meta", "br", "img", "hr", "input", "link"}


class Page(HTMLParser):
    """The elements and the visible text of a page, which must be closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.words, self._open = [], [], [], []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).replace("\N{NO-BREAK SPACE}", " ").split())
