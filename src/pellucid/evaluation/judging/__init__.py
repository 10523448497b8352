"""From scores to an ``Evaluation``: verdicts by the plan, figures, controls, strata, and what cannot be answered."""
