"""The guide's application is complete: it runs as it is printed, and does what the page says."""

import asyncio
import re
import sys
from pathlib import Path

from fluxa.apps.application.user_app import load_app
from fluxa.postgres.pool import Database
from house.tree import ROOT
from integration.worker.workshop import Workshop

PAGE = ROOT / "docs" / "guides" / "handlers.md"


async def test_the_application_of_the_guide_runs_as_printed(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    text = PAGE.read_text("utf-8")
    (program,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "shop_of_the_guide.py").write_text(program)
    sys.path.insert(0, str(tmp_path))
    try:
        app = load_app("shop_of_the_guide:app")
    finally:
        sys.path.remove(str(tmp_path))
    workshop = Workshop.on_pgmq(database)
    workshop.use(app)
    await database.execute("create table orders (number int primary key)")
    for handler in app.handlers:
        await workshop.backend.create(handler.queue)
    await workshop.producer.send("greetings", [{"name": "Ann"}, {"name": ""}, {"nome": "x"}])
    await workshop.producer.send("sums", list(range(10)))
    await workshop.producer.send("orders", [{"number": number} for number in range(5)])
    printed = next(line for line in text.splitlines() if line.startswith("$ fluxa worker"))
    line = printed.replace("shop:", "shop_of_the_guide:")
    process = await asyncio.create_subprocess_exec(
        *["env", "-i", f"PATH={Path(sys.executable).parent}:/usr/bin:/bin", f"HOME={tmp_path}"],
        *[f"PYTHONPATH={':'.join(sys.path)}", f"FLUXA_DATABASE_URL={database_url}"],
        *[sys.executable, "-m", *line.removeprefix("$ ").split(), "--port", "0"],
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        for handler in app.handlers:
            await workshop.empty(handler.queue, timeout_s=40)
    finally:
        process.terminate()
        output, log = await asyncio.wait_for(process.communicate(), 40)
    assert process.returncode == 0, log.decode()
    assert sorted(output.decode().splitlines()) == ["hello Ann, attempt 1", "sum 45 of 10"]
    assert {letter.code for letter in await workshop.dead("greetings")} == {"NoName", "SchemaValidation"}
    assert await database.fetch_value("select sum(number) from orders") == 10
