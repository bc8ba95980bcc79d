namespace Platform.PromQL;

/// <summary>
/// Summation that keeps what rounding loses (Kahan, with Neumaier's improvement), as Prometheus sums, so that results agree and do not
/// depend on the order of the series.
/// </summary>
internal struct KahanSum(double sum)
{
    public double Sum = sum;
    public double Lost;

    public readonly double Total => double.IsInfinity(Sum) ? Sum : Sum + Lost;

    public void Add(double value) => Add(ref Sum, ref Lost, value);

    public static void Add(ref double sum, ref double lost, double value)
    {
        var next = sum + value;
        if (double.IsInfinity(next))
        {
            lost = 0;
        }
        else if (Math.Abs(sum) >= Math.Abs(value))
        {
            lost += sum - next + value;
        }
        else
        {
            lost += value - next + sum;
        }

        sum = next;
    }
}
