"""That a figure says what was measured, and that nothing missing goes unseen."""

import unittest

from harness import colours, drive, figures, plan, render


def answer(part):
    """One with every key that the part has."""
    inner = {key: dict.fromkeys(names, 1) or 1 for key, names in plan.KEYS[part].items()}
    return {"peer": "loky", "part": part, **inner}


class Keys(unittest.TestCase):
    def test_an_answer_with_all_keys_lacks_nothing(self):
        for part in plan.KEYS:
            self.assertEqual(plan.lacks(part, answer(part)), [])

    def test_every_key_is_missed(self):
        for part, keys in plan.KEYS.items():
            for key, inner in keys.items():
                without = answer(part)
                del without[key]
                self.assertEqual(plan.lacks(part, without), [f"no key {key}"])
                for name in inner:
                    without = answer(part)
                    del without[key][name]
                    self.assertEqual(plan.lacks(part, without), [f"no key {key}.{name}"])

    def test_a_peer_that_failed_is_complained_of(self):
        failed = {"failed": "ended with 1: no memory"}
        results = {"peers": {"loky": {"speed": [answer("speed"), failed]}}}
        self.assertEqual(plan.complaints(results), ["loky, speed: ended with 1: no memory"])

    def test_a_server_that_died_has_all_keys_too(self):
        seen = drive.died("spawn_blocking", 6, "/nowhere")
        self.assertEqual(plan.lacks("crash", seen), [])
        self.assertEqual(render.costs(seen), "the server")
        self.assertEqual(render.told(seen), "nothing: the server was killed by SIGABRT")


class Figures(unittest.TestCase):
    def test_a_time_has_its_median_spread_and_unit(self):
        self.assertEqual(figures.seconds([14.24, 13.9, 15.0], "us"), "14.2 µs (13.9–15.0)")
        self.assertEqual(figures.seconds([2305.0], "ms"), "2.31 s")
        self.assertEqual(figures.seconds([], "ms"), "–")

    def test_a_rate_has_three_digits(self):
        self.assertEqual(figures.each_second([344123, 477001]), "411,000 (344,000–477,000)")

    def test_answers_agree_if_only_numbers_differ(self):
        self.assertEqual(figures.agreed(["pid 12 died", "pid 345 died"]), "pid 12 died")
        self.assertEqual(figures.agreed(["lost", "kept", "lost"]), "lost (2 of 3); kept (1 of 3)")

    def test_a_task_that_runs_on_is_never_averaged_away(self):
        stopped = {"stopped": True, "cpu_free_ms": 0.2}
        went_on = {"stopped": False, "cpu_free_ms": None}
        self.assertEqual(render.cpu_free([stopped]), "1 ms or less")
        self.assertEqual(render.cpu_free([went_on, went_on]), "runs on")
        self.assertEqual(render.cpu_free([stopped, went_on]), "1 ms or less; runs on in 1 of 2")


class Best(unittest.TestCase):
    def results(self, **peers):
        inner = {name: {"speed": [answer("speed") | own for own in owns]} for name, owns in peers.items()}
        return {"peers": inner, "sizes": plan.FULL}

    def test_the_best_of_a_column_is_bold_whoever_it_is(self):
        results = self.results(
            outboard=[{"cpu_us": 20, "throughput_per_s": 9}],
            loky=[{"cpu_us": 10, "throughput_per_s": 8}, {"cpu_us": 12, "throughput_per_s": 7}],
        )
        best = render.bests(results)
        self.assertEqual((best["CPU per task"], best["many at once, tasks/s"]), (11, 9))
        ours, theirs = (
            render.speed_cells(results["peers"][name]["speed"], best) for name in ("outboard", "loky")
        )
        self.assertEqual((ours["CPU per task"], theirs["CPU per task"]), ("20.0 µs", "**11.0 µs** (10.0–12.0)"))
        self.assertEqual((ours["many at once, tasks/s"], theirs["many at once, tasks/s"]), ("**9**", "8 (7–8)"))
        self.assertEqual(render.a_second("**9**"), "**9/s**")

    def test_nobody_is_the_best_where_nothing_was_measured(self):
        results = self.results(outboard=[{"cpu_us": None}])
        best = render.bests(results)
        self.assertIsNone(best["CPU per task"])
        self.assertEqual(render.speed_cells(results["peers"]["outboard"]["speed"], best)["CPU per task"], "–")

    def test_a_task_that_went_on_once_is_not_the_soonest_to_end(self):
        stopped = {"stopped": True, "cpu_free_ms": 0.2}
        self.assertEqual(render.free_ms([stopped, {"stopped": True, "cpu_free_ms": 3}]), 1.6)
        self.assertEqual(render.free_ms([stopped, {"stopped": False, "cpu_free_ms": None}]), render.inf)


class Colours(unittest.TestCase):
    def test_a_plot_has_another_colour_for_each_on_dark_ground(self):
        light = '<svg><style>*{}</style><path style="fill: #ffffff; stroke: #475569"/></svg>'
        head, rest = colours.with_dark_ones(light).split("</style>")
        self.assertEqual(rest, light.split("</style>")[1])
        self.assertIn("prefers-color-scheme: dark", head)
        self.assertIn('[style*="fill: #ffffff"] { fill: #14191b !important }', head)
        self.assertIn('[style*="stroke: #475569"] { stroke: #a9b6c6 !important }', head)


if __name__ == "__main__":
    unittest.main()
