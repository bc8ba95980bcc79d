using Platform.SampleStore;

namespace Platform.Metrics.Intake;

internal static class WireKey
{
    public static SeriesKey Of(string realm, ReadOnlySpan<byte> bytes)
    {
        var a = new HashCode();
        a.Add(realm);
        a.AddBytes(bytes);
        return new SeriesKey((ulong)a.ToHashCode(), (ulong)bytes.Length);
    }
}
