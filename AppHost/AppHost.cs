Console.WriteLine("The graph comes next.");
