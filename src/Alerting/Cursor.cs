using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using Microsoft.AspNetCore.WebUtilities;

namespace Platform.Alerting;

/// <summary>A place in a list that is sorted by time and id. Clients get it as opaque text.</summary>
public readonly record struct Cursor(DateTimeOffset At, Guid Id)
{
    public override string ToString()
    {
        Span<byte> bytes = stackalloc byte[24];
        BinaryPrimitives.WriteInt64BigEndian(bytes, At.UtcTicks);
        Id.TryWriteBytes(bytes[8..]);
        return WebEncoders.Base64UrlEncode(bytes);
    }

    public static bool TryParse(string? text, [NotNullWhen(true)] out Cursor? cursor)
    {
        cursor = null;
        if (text is not { Length: 32 })
        {
            return false;
        }

        try
        {
            var bytes = WebEncoders.Base64UrlDecode(text);
            cursor = new Cursor(new DateTimeOffset(BinaryPrimitives.ReadInt64BigEndian(bytes), TimeSpan.Zero), new Guid(bytes.AsSpan(8)));
            return true;
        }
        catch (Exception error) when (error is FormatException or ArgumentOutOfRangeException)
        {
            return false;
        }
    }
}
