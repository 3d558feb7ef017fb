"""What a browser would make of a page, as far as it concerns safety."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class Element:
    """An element and the text directly in it."""

    tag: str
    attributes: dict[str, str]
    text: str = ""


@dataclass
class Page(HTMLParser):
    """The elements of a page in order."""

    html: str
    elements: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[Element] = []
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """HTMLParser's."""
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.elements.append(element)
        self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        """HTMLParser's."""
        while self._open and self._open.pop().tag != tag:
            pass

    def handle_data(self, data: str) -> None:
        """HTMLParser's."""
        if self._open:
            self._open[-1].text += data

    def all(self, tag: str, **attributes: str) -> Iterator[Element]:
        """The elements of that tag whose attributes are so."""
        for element in self.elements:
            if element.tag == tag and all(element.attributes.get(k) == v for k, v in attributes.items()):
                yield element

    def texts(self, tag: str, **attributes: str) -> list[str]:
        """Their texts."""
        return [element.text.strip() for element in self.all(tag, **attributes)]

    def unsafe(self) -> list[str]:
        """What could run a script or break the policy: inline script or style, handlers, foreign addresses."""
        found = []
        for element in self.elements:
            shown = f"<{element.tag} {element.attributes}>{element.text.strip()[:80]}"
            if element.tag == "script" and (
                element.text.strip() or not _is_own(element.attributes.get("src", ""))
            ):
                found.append(shown)
            if element.tag in {"style", "iframe", "object", "embed", "base", "template"}:
                found.append(shown)
            for name, value in element.attributes.items():
                if name.startswith("on") or name in {"style", "srcdoc"}:
                    found.append(shown)
                if name in {"href", "src", "action", "data-marks", "data-load", "data-list"} and not _is_own(
                    value
                ):
                    found.append(shown)
        return found


def _is_own(address: str) -> bool:
    return (
        (address.startswith("/") and not address.startswith("//")) or address[:1] in {"#", "?"} or not address
    )
