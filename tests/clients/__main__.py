"""`python -m tests.clients [--to http://127.0.0.1:4318]`: compiles the example clients in Kotlin and TypeScript, as
strictly as it goes, and has them send a session each to a running `up` or `receive`.

It needs Java, Maven, Node with npm, and Chromium, and takes a minute: so it is no test of CI. Exits with 1 if a client
does not compile, or is refused something. Swift is not compiled anywhere here: it is parsed, with the grammar from
`pip install tree-sitter tree-sitter-swift`.
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import subprocess
import sys
import tempfile
import uuid
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from pipeline.embedded.child import LOOPBACK
from tests.dashboard.browser import browsing
from tests.support.stack import ROOT

HERE = Path(__file__).parent
CLIENTS = ROOT / "schemas" / "examples" / "clients"
TYPESCRIPT = "typescript@7"
PAGE = """<!doctype html><title>Client</title><link rel=icon href=data:,><button id=pay>Pay</button>
<script type=module>
  import { Client } from './browser.js'
  window.refused = []
  const resource = { 'service.version': '2.0', 'user_agent.name': 'Chromium' }
  window.client = new Client({ url: '%s/v1/events', appId: 'org.example.typescript', deviceId: '%s', resource,
    onError: (reason) => refused.push(reason) })
  window.unheard = []
  new Client({ url: 'http://127.0.0.1:1/v1/events', appId: 'org.example.typescript', deviceId: 'unheard',
    onError: (reason) => unheard.push(reason) })
  client.send('app.screen.view', { 'app.screen.name': 'Start' })
  pay.onclick = () => client.send('app.widget.click', { 'app.widget.id': 'pay' })
</script>"""


def kotlin(to: str, device: str, folder: Path) -> None:
    """Compiled by the compiler from Maven Central, and run."""
    jars = folder / "jars"
    copy = [
        "mvn",
        "-q",
        "-B",
        "-f",
        str(HERE / "pom.xml"),
        "dependency:copy-dependencies",
        f"-DoutputDirectory={jars}",
    ]
    subprocess.run(copy, check=True)
    path = ":".join(map(str, sorted(jars.glob("*.jar"))))
    compiler = "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"
    options = ["-no-stdlib", "-no-reflect", "-Werror", "-cp", path, "-d", str(folder / "classes")]
    subprocess.run(
        ["java", "-cp", path, compiler, *options, str(CLIENTS / "Client.kt"), str(HERE / "Try.kt")],
        check=True,
    )
    main = ["java", "-cp", f"{folder / 'classes'}:{path}", "org.example.telemetry.TryKt", to, device]
    subprocess.run(main, check=True)


def typescript(to: str, device: str, folder: Path) -> None:
    """Compiled as strictly as it goes, and used in Chromium."""
    shutil.copy(CLIENTS / "browser.ts", folder)
    shutil.copy(HERE / "tsconfig.json", folder)
    subprocess.run(["npx", "--yes", "-p", TYPESCRIPT, "tsc", "-p", "."], cwd=folder, check=True)
    (folder / "index.html").write_text(PAGE % (to, device), encoding="utf-8")
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer((LOOPBACK, 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with browsing(f"http://{LOOPBACK}:{server.server_address[1]}", folder) as browser:
            browser.open("/")
            browser.wait(lambda: browser.script("return window.client"))
            browser.one("#pay").click()
            browser.driver.switch_to.new_window("tab")
            page = browser.driver.window_handles[0]
            browser.driver.switch_to.window(page)
            browser.wait(lambda: browser.script("return !client.waiting.length && !client.sending"))
            refused = browser.script("return refused")
            browser.wait(lambda: browser.script("return unheard.includes('unreachable')"))
        server.shutdown()
    if refused:
        raise SystemExit(f"refused: {refused}")


def swift() -> None:
    """Parsed, since nothing here compiles it: what it calls is not looked at. Exits where it is no Swift."""
    try:
        tree_sitter = importlib.import_module("tree_sitter")
        grammar = importlib.import_module("tree_sitter_swift")
    except ImportError as error:
        sys.exit(f"error: {error}; pip install tree-sitter tree-sitter-swift")
    path = CLIENTS / "Client.swift"
    root = tree_sitter.Parser(tree_sitter.Language(grammar.language())).parse(path.read_bytes()).root_node
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if node.is_error or node.is_missing:
            sys.exit(f"error: {path.name}:{node.start_point[0] + 1}: {node.type}")
        waiting += node.children


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", default="http://127.0.0.1:4318", help="where `receive` listens")
    to, device = parser.parse_args().to, f"device-{uuid.uuid4()}"
    swift()
    for client in (kotlin, typescript):
        with tempfile.TemporaryDirectory() as folder:
            client(to, device, Path(folder))
    print(f"sent as org.example.kotlin and org.example.typescript, of {device}")


if __name__ == "__main__":
    main()
