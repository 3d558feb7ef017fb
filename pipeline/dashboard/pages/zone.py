"""Where a viewer chooses the time zone of all pages."""

from __future__ import annotations

from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pipeline.dashboard.guard import form_fields
from pipeline.dashboard.page import render
from pipeline.dashboard.viewer import COOKIE, FIELD, chosen_by
from pipeline.domain.display import Displays
from pipeline.query.time_zone import zone, zone_named, zones

_YEAR_S = 365 * 86_400


class ZonePage:
    """`/zone`: where a viewer chooses."""

    def __init__(self, zones: Displays) -> None:
        self._zones = zones

    async def show(self, request: Request) -> Response:
        """The choice; `next` is the page that it leads back to."""
        back = _inside(request.query_params.get("next", ""))
        app = parse_qs(urlsplit(back).query).get("app", [""])[0]
        return render(
            request, "zone.html", zones=zones(), back=back, chosen=zone().key if chosen_by() else "",
            of_app=self._zones.of(app).time_zone,
        )  # fmt: skip

    async def choose(self, request: Request) -> Response:
        """Keep a zone for this browser; an empty one takes the choice back."""
        fields = await form_fields(request)
        name = fields.get(FIELD, "")
        try:
            kept = zone_named(name).key if name else ""
        except ValueError as error:
            raise HTTPException(400, f"“{name[:60]}” {error}.") from None
        response = RedirectResponse(_without_zone(_inside(fields.get("next", ""))), 303)
        response.headers.append(
            "Set-Cookie", f"{COOKIE}={kept}; Path=/; Max-Age={_YEAR_S if kept else 0}; HttpOnly; SameSite=Lax"
        )
        return response


def _inside(address: str) -> str:
    """An address of ours; the first page for any other."""
    is_ours = address.startswith("/") and not address.startswith(("//", "/\\"))
    return address if is_ours and address.isprintable() else "/sessions"


def _without_zone(address: str) -> str:
    parts = urlsplit(address)
    fields = parse_qs(parts.query, keep_blank_values=True)
    fields.pop(FIELD, None)
    return parts._replace(query=urlencode(fields, doseq=True)).geturl()
