using Npgsql;

namespace Platform.Postgres;

public static class Listening
{
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(1);

    /// <summary>
    /// Calls <paramref name="heard"/> for every NOTIFY on <paramref name="channel"/>, on a connection of its own that is made again when it
    /// is lost, until <paramref name="ct"/> ends it. Notifications sent meanwhile are missed, so the caller polls now and then as well;
    /// for the same reason <paramref name="heard"/> is called once whenever the connection is there again.
    /// </summary>
    /// <param name="channel">A lower-case name, as it stands in <c>pg_notify</c>.</param>
    /// <param name="failed">Called with the reason when the connection is lost.</param>
    public static async Task ListenAsync(this NpgsqlDataSource db, string channel, Action heard, Action<string> failed, TimeProvider clock, CancellationToken ct)
    {
        while (!ct.IsCancellationRequested)
        {
            try
            {
                await using var connection = await db.OpenConnectionAsync(ct);
                connection.Notification += (_, _) => heard();
#pragma warning disable CA2100 // The name of a channel cannot be a parameter; quoting keeps it a name.
                await using (var listen = new NpgsqlCommand($"listen \"{channel.Replace("\"", "\"\"")}\"", connection))
#pragma warning restore CA2100
                {
                    await listen.ExecuteNonQueryAsync(ct);
                }

                heard();
                while (true)
                {
                    await connection.WaitAsync(ct);
                }
            }
            catch (Exception error) when (!ct.IsCancellationRequested)
            {
                failed(error.GetBaseException().Message);
                await Task.Delay(Pause, clock, ct).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
            catch (OperationCanceledException)
            {
                return;
            }
        }
    }
}
