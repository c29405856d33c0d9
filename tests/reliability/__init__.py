"""The promises under attack: each module is one kind of fault, in a short form and, with ``--long``, in a long one."""
