"""A quarter in the life of Darkroom, played in minutes: ``make simulate DAYS=90``.

``story`` says what happens when, ``tasks`` plays the DAGs' own task functions at a simulated moment, ``week`` lets a
real Airflow play the last seven days, ``invariants`` looks at what all that has left, ``timeline`` draws it.
"""
