"""MLflow pyfunc models: packages whose answers come from code of their own.

Such a model is run only where an allow-list names it with its digest (``allowed``), in an environment of its own
(``environment``), by a process of its own (``child``, which runs ``runner``). Darkroom's process reads the folder of
the model as data (``folder``): it imports none of its code and unpickles nothing.
"""
