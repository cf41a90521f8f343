"""What work will take: time, money, disk, memory, and what its replicates can settle."""
