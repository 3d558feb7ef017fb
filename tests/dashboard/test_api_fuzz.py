"""What the document of the API allows, and what it does not, asked by Schemathesis.

For longer: API_FUZZ_EXAMPLES=3000 python -m pytest -n0 tests/dashboard/test_api_fuzz.py
With the cases of Schemathesis' coverage phase, each once, some 3,200:
API_FUZZ_COVERAGE=1 python -m pytest -n0 tests/dashboard/test_api_fuzz.py -k coverage
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import httpx2
import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, reject, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from pipeline.api.table import ENDPOINTS
from pipeline.commands.dashboard import parts
from pipeline.dashboard.app import application
from tests.contract.api_document import PATH
from tests.dashboard.stage import Stage

EXAMPLES = int(os.environ.get("API_FUZZ_EXAMPLES", "20"))
BASE = "http://testserver/api/v1"
# Schemathesis sends them so.
pytestmark = pytest.mark.filterwarnings("ignore:Setting per-request cookies:DeprecationWarning")


class Document(NamedTuple):
    """The document of the API as Schemathesis reads it, and what it holds answers to."""

    schema: Any
    operations: list[Any]
    of_every_answer: list[Any]
    refusal: list[Any]


@cache
def document() -> Document:
    """It, read once in a process."""
    # Takes a second or two of processor time to import, which each process that collects tests would spend.
    import schemathesis  # noqa: PLC0415
    from schemathesis.checks import CHECKS, load_all_checks  # noqa: PLC0415

    load_all_checks()
    of_every_answer = CHECKS.get_by_names(
        [
            "not_a_server_error", "status_code_conformance", "content_type_conformance",
            "response_headers_conformance", "response_schema_conformance",
        ]
    )  # fmt: skip
    schema = schemathesis.openapi.from_dict(orjson.loads(PATH.read_bytes()))
    operations = [found.ok() for found in schema.get_all_operations()]
    return Document(schema, operations, of_every_answer, CHECKS.get_by_names(["negative_data_rejection"]))


@pytest.fixture(scope="module")
def api(stage: Stage) -> TestClient:
    own = replace(stage.settings, api_rate=1_000_000)
    return TestClient(application(parts(own, stage.store, "", frozenset())), base_url="http://testserver")


def test_the_document_has_every_endpoint() -> None:
    assert sorted((each.path, each.method.upper()) for each in document().operations) == sorted(
        (each.path, each.method) for each in ENDPOINTS
    )


@pytest.mark.parametrize("mode", ["POSITIVE", "NEGATIVE"], ids=["allowed", "not allowed"])
def test_answers_are_what_the_document_says(api: TestClient, mode: str) -> None:
    from schemathesis import GenerationMode  # noqa: PLC0415

    it = document()
    asked = set[str]()

    @settings(
        max_examples=EXAMPLES, phases=[Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck),
        database=None, deadline=None,
    )  # fmt: skip
    @given(st.data())
    def ask(data: st.DataObject) -> None:
        operation = data.draw(st.sampled_from(it.operations))
        case = data.draw(operation.as_strategy(GenerationMode[mode]))
        try:
            answer = api.request(**case.as_transport_kwargs(base_url=BASE))
        except httpx2.InvalidURL:
            reject()  # longer than any client sends
        asked.add(operation.label)
        # 413 and 414 refuse as well, though Schemathesis does not count them.
        case.validate_response(
            answer,
            checks=[*it.of_every_answer, *(it.refusal if answer.status_code not in (413, 414) else ())],
        )

    ask()
    assert len(asked) >= min(EXAMPLES, len(it.operations)) // 4


if os.environ.get("API_FUZZ_COVERAGE"):

    @pytest.mark.parametrize("operation", (ops := document().operations), ids=[each.label for each in ops])
    def test_cases_of_coverage(api: TestClient, operation: Any) -> None:
        from schemathesis import GenerationMode  # noqa: PLC0415

        it = document()
        generation = it.schema.config.generation_for(operation=operation, phase="coverage")
        for case in it.schema.iter_coverage_cases(
            operation=operation, generation_modes=list(GenerationMode), generation_config=generation
        ):
            if case.method != operation.method.upper():
                continue  # what a path does not know
            try:
                answer = api.request(**case.as_transport_kwargs(base_url=BASE))
            except httpx2.InvalidURL:
                continue
            case.validate_response(answer, checks=it.of_every_answer)
