"""A chat: rooms that their members read and write, invitations that one person receives, and a way to kick.

Promises: each change and its events are written in one transaction, and the relay of the outbox publishes them. So no
process loses a committed message by its end, and nobody receives a message that was written after they were kicked.
"""

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, LiteralString

from fastapi import Body, Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool
from pydantic import StringConstraints
from starlette.middleware.sessions import SessionMiddleware

from cornelius import OtherSubjectError, UnavailableError, UnknownUidError
from cornelius.aio import dudley

HERE = Path(__file__).parent
PAGE = (HERE / "page.html").read_text(encoding="utf-8")
SCHEMA = (HERE / "schema.sql").read_bytes()
SESSION_SECONDS = 12 * 3600

MY_ROOMS = """
SELECT jsonb_build_object('id', id, 'title', title, 'owner', owner, 'version', version)
FROM room JOIN member ON room = id WHERE person = %s ORDER BY version DESC LIMIT 100 -- a page has 128 paths at most
"""
MESSAGES = """
SELECT to_jsonb(message) FROM message JOIN member USING (room)
WHERE room = %s AND person = %s ORDER BY id DESC LIMIT 200
"""
SAY = """
WITH said AS (
    INSERT INTO message (room, author, key, text, is_note)
    VALUES (%(room)s, %(author)s, coalesce(%(key)s, gen_random_uuid()::text), %(text)s, %(key)s IS NULL)
    ON CONFLICT (author, key) DO NOTHING RETURNING *
)
SELECT roots.publish('rooms/' || room, to_jsonb(said)) FROM said
"""
INVITE = """
WITH invited AS (
    INSERT INTO member (room, person) VALUES (%(room)s, %(name)s) ON CONFLICT DO NOTHING RETURNING *
)
SELECT roots.publish('people/' || person, jsonb_build_object(
    'id', id, 'title', title, 'owner', owner, 'version', version, 'by', %(by)s::text))
FROM invited JOIN room ON room = id
"""
KICK = """
WITH kicked AS (DELETE FROM member WHERE room = %(room)s AND person = %(name)s RETURNING *)
SELECT roots.revoke(subject => person, path => 'rooms/' || room), roots.publish('people/' || person,
    jsonb_build_object('id', room, 'DELETE', true, 'version', nextval('membership_version'), 'by', %(by)s::text))
FROM kicked
"""

database = AsyncConnectionPool(os.environ["ROOTS_DATABASE_URL"], open=False)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Make the tables, and keep the connections to the database as long as the application runs."""
    async with database:
        async with database.connection() as transaction:
            await transaction.execute(SCHEMA)
        yield


def refuse_other_sites(request: Request) -> None:
    """Refuse requests that another site's page sends with the cookie of its visitor."""
    if request.method != "GET" and request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        raise HTTPException(403, "another site's page may not ask this")


app = FastAPI(lifespan=lifespan, dependencies=[Depends(refuse_other_sites)])
app.add_middleware(SessionMiddleware, secret_key=os.environ["SECRET_KEY"], same_site="lax", max_age=SESSION_SECONDS)
app.mount("/pomona", StaticFiles(directory=os.environ.get("POMONA", HERE.parents[1] / "clients/pomona/src")))


def find_person(request: Request) -> str:
    """Return who is logged in; an empty text without a login."""
    session = request.session
    return str(session["name"]) if session.get("until", 0) > time.time() else ""


def logged_in(person: Annotated[str, Depends(find_person)]) -> str:
    """Return who is logged in. Errors: 401 without a login."""
    if not person:
        raise HTTPException(401, "log in first")
    return person


# A name is a segment of a path, as in people/ann.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,32}$")]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000), Body(embed=True)]
Person = Annotated[str, Depends(logged_in)]


async def read(query: LiteralString, *values: object) -> list[Any]:
    """Return the first column of each row."""
    async with database.connection() as transaction:
        cursor = await transaction.execute(query, values)
        return [value for (value,) in await cursor.fetchall()]


async def enter(transaction: AsyncConnection, room: int, person: str) -> str:
    """Let no other transaction change the room until this one ends, and return the room's owner.

    So ids of messages have the order of their commits, and nobody writes while being kicked. Errors: 403.
    """
    await transaction.execute("SELECT FROM room WHERE id = %s FOR UPDATE", [room])
    # After the lock: the statement above does not see a member that was removed while it waited.
    query = "SELECT owner FROM room JOIN member ON room = id WHERE id = %s AND person = %s"
    row = await (await transaction.execute(query, [room, person])).fetchone()
    if row is None:
        raise HTTPException(403, "you are not a member of this room")
    return str(row[0])


@app.get("/")
async def page(person: Annotated[str, Depends(find_person)]) -> HTMLResponse:
    """Answer the page of who is logged in."""
    return HTMLResponse(
        PAGE.replace('data-person=""', f'data-person="{person}"'), headers={"Cache-Control": "no-store"}
    )


@app.post("/login")
async def log_in(request: Request, name: Annotated[Name, Body(embed=True)]) -> None:
    """Begin a session for whoever says a name. An application of yours checks here who it is."""
    request.session.update(name=name, until=time.time() + SESSION_SECONDS)


@app.post("/logout")
async def log_out(request: Request) -> None:
    """End the session."""
    request.session.clear()


@app.get("/rooms")
async def list_rooms(person: Person) -> list[dict[str, Any]]:
    """Answer the rooms that the person is a member of."""
    return await read(MY_ROOMS, person)


@app.post("/rooms")
async def open_room(text: Text, person: Person) -> dict[str, int]:
    """Make a room with that title, which the person owns."""
    async with database.connection() as transaction:
        query = "INSERT INTO room (title, owner) VALUES (%s, %s) RETURNING id"
        ((room,),) = await (await transaction.execute(query, [text, person])).fetchall()
        await transaction.execute(INVITE, {"room": room, "name": person, "by": person})
    return {"id": room}


@app.get("/rooms/{room}/messages")
async def list_messages(room: int, person: Person) -> list[dict[str, Any]]:
    """Answer the latest messages, the newest first; none to those who are no members."""
    return await read(MESSAGES, room, person)


@app.post("/rooms/{room}/messages")
async def say(room: int, text: Text, key: Annotated[str, Body(max_length=64)], person: Person) -> None:
    """Store a message and its event. The same key again changes nothing."""
    async with database.connection() as transaction:
        await enter(transaction, room, person)
        await transaction.execute(SAY, {"room": room, "author": person, "key": key, "text": text})


@app.put("/rooms/{room}/members/{name}")
async def invite(room: int, name: Name, person: Person) -> None:
    """Make somebody a member. Their page receives it, and joins."""
    async with database.connection() as transaction:
        await enter(transaction, room, person)
        cursor = await transaction.execute(INVITE, {"room": room, "name": name, "by": person})
        if cursor.rowcount:
            await note(transaction, room, person, f"has invited {name}")


@app.delete("/rooms/{room}/members/{name}")
async def kick(room: int, name: Name, person: Person) -> None:
    """Take a member's right to the room away, and what Roots has granted by it."""
    async with database.connection() as transaction:
        if person not in (name, await enter(transaction, room, person)):
            raise HTTPException(403, "only the owner of a room may kick somebody")
        cursor = await transaction.execute(KICK, {"room": room, "name": name, "by": person})
        if not cursor.rowcount:
            raise HTTPException(404, f"{name} is not a member of this room")
        await note(transaction, room, person, "has left" if name == person else f"has kicked {name}")


async def note(transaction: AsyncConnection, room: int, person: str, text: str) -> None:
    """Let the members read what a person has done."""
    await transaction.execute(SAY, {"room": room, "author": person, "key": None, "text": text})


@app.post("/push/connect/{uid}")
async def connect(uid: str, paths: Annotated[list[str], Body()], person: Person, request: Request) -> JSONResponse:
    """Let a page receive those of the paths that its person may, until their session ends."""

    async def decide() -> list[str]:
        mine = {f"people/{person}", *await read("SELECT 'rooms/' || room FROM member WHERE person = %s", person)}
        return [path for path in paths if path in mine]

    connected = await dudley.connect_decided(uid, decide, subject=person, until=request.session["until"])
    refused = [{"path": path, "reason": "policy"} for path in paths if path not in connected]
    return JSONResponse({"connected": connected, "refused": refused}, 200 if connected else 403)


@app.post("/push/disconnect/{uid}")
async def disconnect(uid: str, paths: Annotated[list[str], Body()], _person: Person) -> dict[str, list[str]]:
    """Give back paths that the page no longer wants."""
    await dudley.disconnect(uid, paths)
    return {"disconnected": paths}


@app.exception_handler(UnavailableError)
async def try_again(_request: Request, _error: Exception) -> JSONResponse:
    """Let the page try again: Roots can't be reached."""
    return JSONResponse({"title": "Roots can't be reached"}, 503, {"Retry-After": "1"})


@app.exception_handler(UnknownUidError)
async def begin_again(_request: Request, _error: Exception) -> JSONResponse:
    """Let the page begin with another uid."""
    return JSONResponse({"title": "the client has ended"}, 410)


@app.exception_handler(OtherSubjectError)
async def belongs_to_another(_request: Request, _error: Exception) -> JSONResponse:
    """Let the page begin with another uid: somebody else has logged in since."""
    return JSONResponse({"title": "the client is another person's", "reason": "identity"}, 403)
