"""What an address of a session leads to that is no longer there: late events may have made others of it."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pipeline.dashboard.page import link, render
from pipeline.dashboard.reader import Reader, Row
from pipeline.query import finding

WAS = "was"
"""The field of an address that names the session which was asked for before."""
_NEVER = (
    "No session has this id. As far as is known none ever had it; but one that was erased leaves no trace."
)
_REMOVED = (
    "There was a session with this id. It has been removed since: it was older than its app keeps sessions, or it "
    "was erased."
)


async def gone(reader: Reader, request: Request, session_id: str, part: str = "") -> Response:
    """The answer for a session that is not there: where its events are now, or why nobody can tell.

    `part` is what followed the session in the address, with its query. With one successor it leads there; with several
    they are listed. Raises HTTPException (404) with the reason where there is none, and `NotAnswered`.
    """
    found = await reader.rows(finding.successors(session_id))
    if len(found) == 1:
        return RedirectResponse(_address(found[0], session_id, part), 303)
    if found:
        return render(request, "gone.html", was=session_id, successors=found, app=found[0]["app_id"],
                      device=found[0]["device_id"])  # fmt: skip
    raise HTTPException(404, why_gone(await reader.first(finding.as_last_told(session_id)) or {}))


async def replaced(reader: Reader, request: Request, session_id: str) -> bool:
    """Whether a session has what another one had, which the address says was asked for before."""
    was = finding.as_uuid(request.query_params.get(WAS, ""))
    if was is None:
        return False
    return any(row["session_id"] == session_id for row in await reader.rows(finding.successors(was)))


def why_gone(told: Row) -> str:
    """Why there is neither a session of an id nor one in its place, by the row of `finding.as_last_told`."""
    if not told.get("was_there"):
        return _NEVER
    if not told["device_id"]:
        return _REMOVED
    if not told["is_kept"]:
        return (
            f"There was a session with this id. Its app keeps sessions for {told['retention_days']} days, and it is"
            " older."
        )
    if told["was_taken_back"]:
        return (
            "There was a session with this id. Late events changed the sessions of its device, and the one that has its"
            " events now is not kept any more."
        )
    return _REMOVED


def _address(session: Row, was: str, part: str) -> str:
    path, _, query = part.partition("?")
    own = link(f"/sessions/{session['session_id']}{path}", **{WAS: was})
    return f"{own}&{query}" if query else own
