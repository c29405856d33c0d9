"""The promises under attack: each ``test_NAME.py`` is one kind of fault, in a short and, with ``--long``, a long form.

The parts of an attack besides its test are in the folder of its kind: ``killing``, ``power``, ``faulty_disk``,
``damaging``, ``cancelling``, ``reading``, ``hostility``, ``model_based``, ``engine`` and its ``samples``; the servers'
workflows in ``targets``, the libraries in C in ``native``. ``reporting`` makes the table of ``docs/reliability.md``.
"""
