"""When turns of a rate were taken, by the clock of the database that gives them.

Code begins some time after its turn, however busy the machine is then; so what the code sees says
little about the rate, and a trigger keeps what does.
"""

from sqlalchemy import Engine, text

_TABLE = "CREATE TABLE IF NOT EXISTS turns (key TEXT, at DOUBLE PRECISION)"
_POSTGRES = """
CREATE OR REPLACE FUNCTION keep_turn() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO turns VALUES (NEW.key, extract(epoch FROM NEW.used_at));
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER keep_turn AFTER UPDATE ON flow_slots FOR EACH ROW
WHEN (NEW.used_at IS DISTINCT FROM OLD.used_at) EXECUTE FUNCTION keep_turn()"""
_SQLITE = """
CREATE TRIGGER IF NOT EXISTS keep_turn AFTER UPDATE ON flow_slots
WHEN NEW.used_at IS NOT OLD.used_at BEGIN
    INSERT INTO turns VALUES (NEW.key, (julianday(NEW.used_at) - 2440587.5) * 86400.0);
END"""


def keep(engine: Engine) -> None:
    """Keep the turns that are taken from now on."""
    with engine.begin() as connection:
        trigger = _SQLITE if engine.dialect.name == "sqlite" else _POSTGRES
        for statement in (_TABLE, trigger, "DELETE FROM turns"):
            connection.exec_driver_sql(statement)


def taken(engine: Engine) -> list[float]:
    """Return when each turn was taken, in seconds since 1970."""
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT at FROM turns WHERE key LIKE 'rate:%' ORDER BY at"))
        return [float(row.at) for row in rows]


def shortest(engine: Engine, turns: int) -> float:
    """Return the least time, in seconds, between a turn and the one so many after it."""
    at = taken(engine)
    return min(later - one for one, later in zip(at, at[turns:], strict=False))
