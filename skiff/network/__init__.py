"""What moves packets: the service proxy, DNS, pod networks. Independent siblings."""
