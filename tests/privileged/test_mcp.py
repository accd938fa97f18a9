"""`substrate mcp` as a client of the protocol meets it: over the streams of a process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp.client.session import ClientSession
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.support.features import requires
from tests.support.sessions import NEEDED, Place, new_place

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

pytestmark = requires(*NEEDED)


@pytest.fixture
def place() -> Iterator[Place]:
    with new_place() as made:
        yield made


def _talk(place: Place, act: Callable[[ClientSession], Awaitable[None]]) -> None:
    command, *words = [*place.argv, "mcp"]
    server = StdioServerParameters(
        command=command, args=words, env=place.whole_environment, cwd=str(place.project)
    )

    async def talk() -> None:
        with anyio.fail_after(60):
            async with stdio_client(server) as streams, ClientSession(*streams) as session:
                await session.initialize()
                await act(session)

    anyio.run(talk)


async def _call(session: ClientSession, name: str, **arguments: Any) -> dict[str, Any]:
    result = await session.call_tool(name, arguments)
    assert not result.is_error, result
    content: dict[str, Any] | None = result.structured_content
    assert content is not None
    return content


def test_a_model_runs_commands_and_learns_what_they_changed(place: Place) -> None:
    async def act(session: ClientSession) -> None:
        ran = await _call(session, "run", command="echo out; echo x > new.txt; exit 3")
        assert (ran["exit"], ran["stdout"]["text"]) == (3, "out\n")
        assert ran["fs_diff"]["writes"] == ["new.txt"]
        changed = await _call(session, "what_changed", span_id=ran["span_id"])
        assert changed["writes"] == ["new.txt"]
        assert (await _call(session, "diff"))["writes"] == ["new.txt"]
        kept = await _call(session, "run", command="cat new.txt", cwd=".")
        assert kept["stdout"]["text"] == "x\n"

    _talk(place, act)
    assert not (place.project / "new.txt").exists()


def test_a_model_accepts_and_takes_back(place: Place) -> None:
    async def act(session: ClientSession) -> None:
        await _call(session, "run", command="echo x > new.txt; mkdir -p .git/hooks")
        await _call(session, "run", command="echo 'exit 1' > .git/hooks/pre-commit")
        risky = await session.call_tool("accept", {})
        assert risky.is_error
        assert not (place.project / "new.txt").exists()
        done = await _call(session, "accept", paths=["new.txt"])
        assert done["writes"] == ["new.txt"]
        assert (place.project / "new.txt").exists()
        assert (await _call(session, "undo"))["paths"] == ["new.txt"]
        assert not (place.project / "new.txt").exists()

    _talk(place, act)


def test_a_model_is_told_what_the_policy_denies_and_why(place: Place) -> None:
    place.write_policy('cmd_denied: ["rm -rf *"]\n')

    async def act(session: ClientSession) -> None:
        denied = await _call(session, "run", command="rm -rf x")
        assert denied["exit"] == 126
        assert denied["policy_decision"]["rule"] == "cmd_denied:rm -rf *"
        said = await _call(session, "why", command="rm -rf x")
        assert said["decision"]["action"] == "deny"

    _talk(place, act)


def test_every_tool_says_what_it_does_and_an_error_says_what_to_do(place: Place) -> None:
    async def act(session: ClientSession) -> None:
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
        assert {"run", "diff", "what_changed", "accept", "undo", "why"} <= set(tools)
        assert all(len(tool.description or "") > 40 for tool in tools.values())
        assert tools["diff"].annotations is not None
        assert tools["diff"].annotations.read_only_hint
        wrong = await session.call_tool("what_changed", {"span_id": "00f067aa0ba902b7"})
        assert wrong.is_error
        assert "there is no span 00f067aa0ba902b7" in str(wrong.content)

    _talk(place, act)
