"""Run by script/examples: python -m unittest discover models."""

import unittest

from sklearn.datasets import load_digits

import digits


class Chances(unittest.TestCase):
    def test_digits_are_recognized(self):
        images, right = load_digits(return_X_y=True)
        answers = digits.chances(images[:200].tolist())
        best = [max(range(10), key=answer.__getitem__) for answer in answers]
        self.assertEqual(best, right[:200].tolist())

    def test_chances_sum_up_to_one(self):
        (answer,) = digits.chances([[0.0] * 64])
        self.assertEqual(len(answer), 10)
        self.assertAlmostEqual(sum(answer), 1.0)

    def test_a_drawing_of_another_size_is_refused(self):
        with self.assertRaises(ValueError):
            digits.chances([[0.0] * 63])


if __name__ == "__main__":
    unittest.main()
