"""Users, guests and chat rooms: only as much as calls refer to. An application may own `users` and
`chat_rooms` and have more columns in them, so rows that exist are never inserted over; and its times may have
no zone, so ours are cast on the way in."""

from __future__ import annotations

from server.db.connection import Connection, rows_of
from server.db.times import moment


async def save_user(
    connection: Connection, user_id: str, *, name: str, avatar: str | None = None, at: float
) -> None:
    """Makes the user, or brings the name (and the avatar, if one is given) up to date."""
    updated = await connection.execute(
        'UPDATE users SET name = $2, avatar = COALESCE($3, avatar), "updatedAt" = $4::timestamptz'
        " WHERE id = $1",
        user_id,
        name,
        avatar,
        moment(at),
    )
    if rows_of(updated) == 0:
        await connection.execute(
            'INSERT INTO users (id, name, avatar, "createdAt", "updatedAt")'
            " VALUES ($1, $2, $3, $4::timestamptz, $4::timestamptz)"
            " ON CONFLICT (id) DO UPDATE"
            " SET name = excluded.name, avatar = COALESCE(excluded.avatar, users.avatar)",
            user_id,
            name,
            avatar,
            moment(at),
        )


async def ensure_user(connection: Connection, user_id: str, *, name: str | None, at: float) -> None:
    """Makes the user where it is missing, and leaves it alone otherwise."""
    await connection.execute(
        'INSERT INTO users (id, name, "createdAt", "updatedAt")'
        " SELECT $1, $2, $3::timestamptz, $3::timestamptz"
        " WHERE NOT EXISTS (SELECT FROM users WHERE id = $1) ON CONFLICT (id) DO NOTHING",
        user_id,
        name,
        moment(at),
    )


async def ensure_guest(connection: Connection, guest_id: str, *, name: str, at: float) -> None:
    """Makes the guest, or brings the name up to date."""
    await connection.execute(
        'INSERT INTO anonymous_participants (id, name, "createdAt", "updatedAt") VALUES ($1, $2, $3, $3)'
        ' ON CONFLICT (id) DO UPDATE SET name = excluded.name, "updatedAt" = excluded."updatedAt"',
        guest_id,
        name,
        moment(at),
    )


async def ensure_room(connection: Connection, room_id: str, *, at: float) -> None:
    """Makes the chat room where it is missing, named after its id."""
    await connection.execute(
        'INSERT INTO chat_rooms (id, name, "createdAt", "updatedAt")'
        " SELECT $1, $1, $2::timestamptz, $2::timestamptz"
        " WHERE NOT EXISTS (SELECT FROM chat_rooms WHERE id = $1) ON CONFLICT (id) DO NOTHING",
        room_id,
        moment(at),
    )
