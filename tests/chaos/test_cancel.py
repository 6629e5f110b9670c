"""F12: runs that are cancelled while they complete."""

from threading import Thread

from flowq.core.ids import RunId
from flowq.core.states import TERMINAL_RUN_STATES, RunState
from flowq.engine.runs.cancel import cancel
from tests.chaos.harness import flows
from tests.chaos.harness.scenario import Expected, Play

RUNS = 8


def test_cancel_that_races_with_completion(play: Play, database_url: str) -> None:
    with play(database_url) as chaos:
        chaos.worker(slots=3)
        # This one cannot win: the race is lost at least once, however slow this process is.
        held = Expected(status=RunState.CANCELLED, error="chaos")
        losing = chaos.submit(flows.held, held, folder=str(chaos.folder), names=["a"])
        chaos.wait_for_file("a.1.*")
        answers: dict[RunId, RunState] = {}
        pauses = [chaos.random.uniform(0, 2) for _ in range(RUNS)]

        def cancel_after(run_id: RunId, pause: float) -> None:
            chaos.pause(pause)
            answers[run_id] = cancel(chaos.cluster.engine, run_id, "chaos")

        threads = []
        for number, pause in enumerate(pauses):
            if number % 2:
                nested = Expected(flows.nested_result(8), may_be_cancelled=True)
                run_id = chaos.submit(flows.nested, nested, count=8)
            else:
                mixed = Expected(flows.mixed_result(8), may_be_cancelled=True)
                run_id = chaos.submit(flows.mixed, mixed, count=8)
            threads.append(Thread(target=cancel_after, args=(run_id, pause)))
            threads[-1].start()
        cancel(chaos.cluster.engine, losing, "chaos")
        (chaos.folder / "go").touch()
        for thread in threads:
            thread.join()

        chaos.check()

        ends = {run_id: chaos.cluster.view(run_id).status for run_id in chaos.runs}
        assert RunState.CANCELLED in ends.values()
        for run_id, answer in answers.items():
            expected = answer if answer in TERMINAL_RUN_STATES else RunState.CANCELLED
            assert ends[run_id] is expected
