"""A Ray cluster in a process of its own, as Ray forks and the tests' process has JAX's threads.

Prints its address. On a line of input another node takes the place of the one that has workers, and
a line says so; at the end of input the cluster ends.
"""

import sys

from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
try:
    node = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    print("address", cluster.address, flush=True)
    for _ in sys.stdin:
        other = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        cluster.remove_node(node, allow_graceful=False)
        node = other
        print("replaced", flush=True)
finally:
    cluster.shutdown()
