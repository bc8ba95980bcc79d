using System.Collections.Frozen;

namespace Platform.PromQL;

/// <summary>The functions that turn each value of a vector into another one, whatever its series; the name is dropped.</summary>
internal static class ValueFunctions
{
    private static readonly FrozenDictionary<string, Func<double, double>> s_table = new Dictionary<string, Func<double, double>>
    {
        ["abs"] = value => Absent.Never(Math.Abs(value)),
        ["acos"] = Math.Acos,
        ["acosh"] = Math.Acosh,
        ["asin"] = Math.Asin,
        ["asinh"] = Math.Asinh,
        ["atan"] = Math.Atan,
        ["atanh"] = Math.Atanh,
        ["ceil"] = Math.Ceiling,
        ["cos"] = Math.Cos,
        ["cosh"] = Math.Cosh,
        ["day_of_month"] = seconds => Date(seconds).Day,
        ["day_of_week"] = seconds => (int)Date(seconds).DayOfWeek,
        ["day_of_year"] = seconds => Date(seconds).DayOfYear,
        ["days_in_month"] = seconds => DateTime.DaysInMonth(Date(seconds).Year, Date(seconds).Month),
        ["deg"] = radians => radians * 180 / Math.PI,
        ["exp"] = Math.Exp,
        ["floor"] = Math.Floor,
        ["hour"] = seconds => Date(seconds).Hour,
        ["ln"] = Math.Log,
        ["log10"] = Math.Log10,
        ["log2"] = Math.Log2,
        ["minute"] = seconds => Date(seconds).Minute,
        ["month"] = seconds => Date(seconds).Month,
        ["rad"] = degrees => degrees * Math.PI / 180,
        ["sgn"] = value => value < 0 ? -1 : value > 0 ? 1 : value,
        ["sin"] = Math.Sin,
        ["sinh"] = Math.Sinh,
        ["sqrt"] = Math.Sqrt,
        ["tan"] = Math.Tan,
        ["tanh"] = Math.Tanh,
        ["year"] = seconds => Date(seconds).Year,
    }.ToFrozenDictionary(StringComparer.Ordinal);

    /// <summary>The functions of a time: without an argument they are of the time of evaluation.</summary>
    public static bool IsOfTime(string name) =>
        name is "day_of_month" or "day_of_week" or "day_of_year" or "days_in_month" or "hour" or "minute" or "month" or "year";

    /// <summary>What the function does to a column, or null when it is none of these.</summary>
    /// <param name="scalars">The values of its scalar arguments at each step.</param>
    public static ColumnChange? Find(string name, double[][] scalars)
    {
        if (s_table.TryGetValue(name, out var function))
        {
            return column =>
            {
                foreach (ref var value in column)
                {
                    if (!Absent.Is(value))
                    {
                        value = function(value);
                    }
                }
            };
        }

        return name switch
        {
            "clamp" => column => Clamp(column, scalars[0], scalars[1]),
            "clamp_max" => column => Clamp(column, null, scalars[0]),
            "clamp_min" => column => Clamp(column, scalars[0], null),
            "round" => column => Round(column, scalars.Length > 0 ? scalars[0] : null),
            _ => null,
        };
    }

    public static void Negate(Span<double> column)
    {
        foreach (ref var value in column)
        {
            if (!Absent.Is(value))
            {
                value = Absent.Never(-value);
            }
        }
    }

    private static void Clamp(Span<double> column, double[]? least, double[]? most)
    {
        for (var step = 0; step < column.Length; step++)
        {
            var (min, max) = (least?[step] ?? double.NegativeInfinity, most?[step] ?? double.PositiveInfinity);
            if (max < min)
            {
                column[step] = Absent.Value;
            }
            else if (!Absent.Is(column[step]))
            {
                column[step] = Math.Max(min, Math.Min(max, column[step]));
            }
        }
    }

    private static void Round(Span<double> column, double[]? nearest)
    {
        for (var step = 0; step < column.Length; step++)
        {
            if (!Absent.Is(column[step]))
            {
                // The inverse, because 1/0.1 is exact where 0.1 is not.
                var inverse = 1 / (nearest?[step] ?? 1);
                column[step] = Math.Floor(column[step] * inverse + 0.5) / inverse;
            }
        }
    }

    /// <summary>Seconds since 1970 as a date; what no calendar here reaches is the nearest end of it.</summary>
    private static DateTime Date(double seconds)
    {
        const double First = -62135596800;
        const double Last = 253402300799;
        return DateTime.UnixEpoch.AddSeconds(double.IsNaN(seconds) ? First : Math.Truncate(Math.Clamp(seconds, First, Last)));
    }
}

/// <summary>Changes a column in place.</summary>
internal delegate void ColumnChange(Span<double> column);
