"""`fluxa schema`: register, list, show and remove the JSON Schema of an event type, over HTTP."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from fluxa.apps.settings import Settings
from fluxa.cli import output
from fluxa.cli.client.connection import answer, connect, find_target, problem, reaching
from fluxa.cli.errors import CommandError, stderr
from fluxa.kernel import json
from fluxa.kernel.errors import ErrorCode

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Register JSON Schemas for event types.")

TypeName = Annotated[str, typer.Argument(metavar="TYPE", help="The event type.")]


@app.command()
def put(
    context: typer.Context,
    type_: TypeName,
    file: Annotated[str, typer.Argument(help="The JSON Schema; - for standard input.")],
    as_json: output.AsJson = False,
) -> None:
    """Register the schema of a type; from then on, data that does not fit is refused."""
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise CommandError(
            ErrorCode.INVALID_REQUEST,
            f"{file} cannot be read: {error.strerror}.",
            action="Name a file, or - for stdin.",
        ) from None
    head = asyncio.run(_call(output.effective(context).settings, "PUT", type_, content))
    if as_json:
        output.print_json(head)
    else:
        stderr().print(f"Version {head['version']} of the schema of {type_} is in force.", markup=False)


@app.command("list")
def list_schemas(context: typer.Context, as_json: output.AsJson = False) -> None:
    """List the types that have a schema."""
    schemas = asyncio.run(_call(output.effective(context).settings, "GET", None))["schemas"]
    output.print_list(
        schemas,
        ("type", "version", "registered"),
        lambda one: (one["type"], one["version"], one["updated_at"][:19]),
        empty="No type has a schema.",
        as_json=as_json,
    )


@app.command()
def show(context: typer.Context, type_: TypeName) -> None:
    """Print the schema of a type as JSON."""
    found = asyncio.run(_call(output.effective(context).settings, "GET", type_))
    output.stdout().print_json(json.text(found["schema"]))


@app.command()
def delete(context: typer.Context, type_: TypeName) -> None:
    """Remove the schema of a type; its data is then no longer checked."""
    asyncio.run(_call(output.effective(context).settings, "DELETE", type_))
    stderr().print(f"The schema of {type_} is removed.", markup=False)


async def _call(settings: Settings, method: str, type_: str | None, content: bytes | None = None) -> Any:  # noqa: ANN401 - JSON
    target = find_target(settings)
    url = f"{target.ingest_url}/v1/schemas" + ("" if type_ is None else f"/{quote(type_, safe='')}")
    headers = {} if content is None else {"content-type": "application/json"}
    async with connect(target) as client, reaching(target.ingest_url, "ingest"):
        response = await client.request(method, url, content=content, headers=headers)
    if not response.is_success:
        raise problem(response)
    return answer(response) if response.content else None
