"""The promises under attack: each ``test_NAME.py`` is one kind of fault, in a short and, with ``--long``, a long form.

Each is in the folder of its machinery: ``killing``, ``power``, ``faulty_disk``, ``damaging``, ``cancelling``,
``racing``, ``reading``, ``hostility``, ``model_based``, ``soaking``, ``values``, ``engine`` with its ``samples``. The
servers' workflows are in ``targets``, the libraries in C in ``native``. ``reporting`` makes the table of
``docs/reliability.md``.
"""
