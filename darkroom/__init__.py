"""The shared library of Darkroom: contracts, storage, tables, transforms and pure functions.

It knows nothing of Airflow and imports neither Spark nor TensorFlow.
"""

__version__ = "0.1.0"
